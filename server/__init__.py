"""Online: the gRPC front end. The way of a message is rpc -> session -> media -> inference -> rpc."""
