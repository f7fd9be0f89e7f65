"""The parts shared by the processes of one gateway: memory, sockets, limits; and how processes are started."""
