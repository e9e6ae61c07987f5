"""The served students as tasks: a corpus each, their losses, batches and calibration; folders of own clips besides."""
