"""The project file and the manifest as typed records; errors. Imports nothing of everloop."""
