"""Offline: data, teachers, students, export. It writes `model_repository/` and never imports the server."""
