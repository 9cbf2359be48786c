"""What tests lean on: throwaway database servers, conditions to wait for, rows in any state."""
