"""HTTP and WebSocket service around the recognizer."""
