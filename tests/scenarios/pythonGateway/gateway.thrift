/** What the tests call of a gateway that is not ours: on the wire as in gateway-sample/gateway.thrift. */
service GatewayApi {
    string ping()
    string echo(1: string text)
}

/** A second service on the same port, so that the server is a multiplexed one. */
service Version {
    string getVersion()
}
