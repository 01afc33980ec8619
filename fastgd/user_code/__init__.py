"""Code that users bring along: rules, losses and landscapes of their own.

A name such as "package.module:Name" comes in; the function or class goes out, with a hash of its text, or one message
that says why it cannot become a kernel. Nothing is compiled here: functions are called on stand-ins for a kernel's
values, which show what the functions do.
"""
