"""What touches the world: files, the kernel, the database, child processes. Each module has one duty."""
