/**
 * What the tests call of servers that are not ours. `echo` is on the wire as in gateway-sample/gateway.thrift. The other methods and
 * their arguments are those of Apache Airavata 0.21 (thrift-interface-descriptions/airavata-apis/airavata_api.thrift and
 * security_model.thrift), without their declared exceptions.
 */
struct AuthzToken {
    1: required string accessToken,
    2: optional map<string, string> claimsMap
}

/** All methods need arguments. */
service GatewayApi {
    string echo(1: string text)
}

/** A second service on the same port, so that the server is a multiplexed one. All methods need arguments, too. */
service Users {
    bool isUserExists(1: required AuthzToken authzToken, 2: required string gatewayId, 3: required string userName)
}

/** A part of Airavata's API, and `echo`, which the tests call. */
service Airavata {
    string getAPIVersion()
    bool isUserExists(1: required AuthzToken authzToken, 2: required string gatewayId, 3: required string userName)
    bool isGatewayExist(1: required AuthzToken authzToken, 2: required string gatewayId)
    string echo(1: string text)
}
