__all__ = ['ttypes', 'constants', 'GatewayApi', 'Users', 'Airavata']
