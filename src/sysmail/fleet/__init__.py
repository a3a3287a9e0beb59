"""What a fleet needs: the tool as one archive, what goes between it and Ansible, the page."""
