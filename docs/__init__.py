"""Programs that build the documentation site from the pages in this folder and elsewhere in the repository."""
