"""Changes to objects: attributes edited, and identifying data removed. No asyncio; all input comes from `read`."""
