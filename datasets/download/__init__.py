"""Getting what others host: addresses, resumable downloads, archives that are not trusted."""
