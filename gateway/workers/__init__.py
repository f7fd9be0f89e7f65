"""Several processes that form one gateway: a parent that binds the sockets, and workers that do everything else."""
