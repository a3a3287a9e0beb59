"""Whether mail that this host sends itself is welcome elsewhere: names, SPF, DMARC, DKIM, lists.

Everything here is a function of plain data and of a ``Resolver``, an object
that answers questions to DNS; ``commands.deliverability`` collects the one
and gets the other from the host. A check returns verdicts: what DNS does not
have is a failure with the record to publish, what DNS does not say is unknown.
"""

from __future__ import annotations
