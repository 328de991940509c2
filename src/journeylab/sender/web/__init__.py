"""What `journeylab serve` answers: webhooks, the pages that people see, tracking, the dashboard and metrics."""
