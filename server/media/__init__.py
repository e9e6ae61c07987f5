"""Media of a session: decodes audio and images, finds faces, takes files apart. It knows no windows and no models."""
