"""The web console: its sources in TypeScript, and the built files that the HTTP port serves."""
