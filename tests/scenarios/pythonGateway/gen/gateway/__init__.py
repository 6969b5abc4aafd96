__all__ = ['ttypes', 'constants', 'GatewayApi', 'Version']
