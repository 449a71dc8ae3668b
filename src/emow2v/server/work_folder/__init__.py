"""The work folder of a server as a whole: its backups, and the disk that it takes."""
