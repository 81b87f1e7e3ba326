"""What the tests start and speak with: servers, clients, daemons, content."""
