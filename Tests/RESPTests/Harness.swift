import RESP

/// A small seeded generator, so that failures can be repeated.
struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// What a whole input parsed to.
struct Parsed: Equatable {
    var requests: [[[UInt8]]] = []
    var consumed = 0
    var failure: RequestError?
    var needed = 0
}

/// Parses everything in `input`.
func parseAll(
    _ input: [UInt8], limits: RequestLimits = RequestLimits(), authenticated: Bool = true
) -> Parsed {
    var parser = RequestParser(limits: limits)
    var parsed = Parsed()
    input.withUnsafeBytes { bytes in
        while true {
            switch parser.parse(bytes, from: parsed.consumed, authenticated: authenticated) {
            case .request(let end):
                parsed.requests.append(parser.arguments.map { Array($0) })
                parsed.consumed = end
            case .nothing(let end):
                parsed.consumed = end
            case .incomplete(let needed):
                parsed.needed = needed
                return
            case .failure(let error):
                parsed.failure = error
                return
            }
        }
    }
    return parsed
}

func parseAll(
    _ input: String, limits: RequestLimits = RequestLimits(), authenticated: Bool = true
) -> Parsed {
    parseAll(Array(input.utf8), limits: limits, authenticated: authenticated)
}

/// Encodes a request as clients do.
func encode(_ arguments: [[UInt8]]) -> [UInt8] {
    var bytes = Array("*\(arguments.count)\r\n".utf8)
    for argument in arguments {
        bytes += Array("$\(argument.count)\r\n".utf8) + argument + [0x0d, 0x0a]
    }
    return bytes
}

func words(_ texts: String...) -> [[UInt8]] { texts.map { Array($0.utf8) } }
