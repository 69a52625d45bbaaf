"""The documentation site: `assemble` collects its pages in build/docs-source, `check_links` checks the built HTML."""
