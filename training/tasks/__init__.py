"""The tasks that distillation runs on, by name. Each is made from the data folder: `TASKS["ravdess"](data)`."""
