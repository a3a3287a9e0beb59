"""What the tool can do: one module a verb, each returns a report and prints nothing.

The doors (the command line, Ansible) call these with a host and a policy.
"""
