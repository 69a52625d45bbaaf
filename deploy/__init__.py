"""Files for the deployment of the server, and the programs that generate some of them."""
