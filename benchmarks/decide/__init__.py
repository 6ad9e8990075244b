"""What one decision of the policy costs, in time and in memory."""
