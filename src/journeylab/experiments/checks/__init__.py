"""What would mislead on a journey: other journeys, wearing off, the calendar, machines."""
