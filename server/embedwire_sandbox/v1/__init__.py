"""The v1 dialect: `POST /embed`, multipart."""
