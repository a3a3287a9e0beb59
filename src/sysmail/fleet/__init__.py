"""What a fleet needs beside the hosts themselves: the page that people look at."""
