"""The pages at /ui/: Jinja2 templates, ES modules and a style sheet, all our own, without a build step."""
