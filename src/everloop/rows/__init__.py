"""Row steps in three forms: vectorised, in a replica, in the graph."""
