"""The way to the Hub and back: fetching, publishing, proving, deploying."""
