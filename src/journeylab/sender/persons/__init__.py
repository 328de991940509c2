"""What a person may ask of those who hold data on them: a copy of it, and that it is erased (GDPR Art. 15, 17, 20)."""
