"""What an operator can see: reads only."""
