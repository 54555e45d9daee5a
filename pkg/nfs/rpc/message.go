package rpc

// Version is that of ONC RPC (RFC 5531 §9).
const Version = 2
