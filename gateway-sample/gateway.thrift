/**
 * The API of the sample gateway: small, but with one method of every sort that matters to a load balancer.
 * `npm run generate` turns it into gen/.
 */

/** An experiment that a user has registered. */
struct Experiment {
    1: required string id
    2: required string name
    /** ISO 8601, UTC. */
    3: required string createdAt
}

exception ExperimentNotFound {
    1: required string id
}

/** What users call. The service that answers when the server is not multiplexed. */
service GatewayApi {
    /** The name of the server that answers. Also the health check: a draining server answers with an exception. */
    string ping()

    /** Idempotent: gives the text back. */
    string echo(1: string text)

    /** Idempotent: gives the server's name after so many milliseconds (0 to 60000). */
    string sleep(1: i32 milliseconds)

    /** Idempotent. */
    Experiment getExperiment(1: string id) throws (1: ExperimentNotFound notFound)

    /** NOT idempotent: each call makes one more. The sample keeps them in memory, each server its own. */
    Experiment createExperiment(1: string name)
}

struct ServerStatus {
    /** The server's name. */
    1: required string name
    2: required i32 processId
    /** `serving` or `draining`. */
    3: required string state
    /** Open connections, the caller's included. */
    4: required i32 connections
    /** Calls answered since the start. */
    5: required i32 callsAnswered
}

/** What operators call; reachable only on a multiplexed server. */
service Admin {
    ServerStatus status()

    /** Writes a line to the server's log. */
    oneway void note(1: string text)
}
