"""Code that users bring along: rules, losses, landscapes of their own.

A name such as "package.module:Name" comes in; the function or class goes out, with the text that tells it from an
edited one, and with one message where it cannot become a kernel. Functions are called on symbols here, and never
compiled.
"""
