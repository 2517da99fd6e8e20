"""From a case to a training row: episodes played concurrently, recorded to the token, checked, stored."""
