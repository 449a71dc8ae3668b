"""Many recordings on a cluster of Ray: engines on its nodes compute, and the computer of the command keeps the journal and
writes every file. Only `cluster.connection` and `cluster.pool` import Ray.
"""
