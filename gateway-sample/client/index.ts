/** The client library: `createClient(GatewayApi, { addresses: ["10.0.0.1:9190", "10.0.0.2:9190"] })`. */

export { type Address, parseAddress } from "./address";
export type { GeneratedClient } from "./call";
export {
    type CallOptions,
    type Calls,
    type ChannelOptions,
    type ClientOptions,
    createClient,
    type ServiceClient,
} from "./client";
export {
    AllAddressesFailed,
    BadReply,
    CallFailed,
    ClientClosed,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    type FailedTry,
    OutcomeUnknown,
    TooManyCalls,
    TryTimedOut,
} from "./errors";
