"""What an exchange of a request and its response can end with."""


class TlsRecordReceived(Exception):
    """What arrived instead of a response is a record of TLS."""
