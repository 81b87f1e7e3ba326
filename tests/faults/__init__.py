"""What must hold when processes die, power fails, disks fill or break, and clients misbehave."""
