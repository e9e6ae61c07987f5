"""How each student is trained: one file a student. Hyper-parameters stand beside the recipe that uses them."""
