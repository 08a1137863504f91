import CPikaShim

/// Takes over the error of a call that failed.
func takeError(_ error: inout pk_error, path: String) -> StorageError {
    defer { pk_error_clear(&error) }
    if error.code == Int32(PK_LOCKED) { return .locked(path: path) }
    if error.code == Int32(PK_CLOSED) { return .closed }
    let message = error.message.map { String(cString: $0) } ?? ""
    let code = EngineFault.Code(rawValue: UInt8(truncatingIfNeeded: error.code)) ?? .unknown
    return .engine(EngineFault(code: code, isNoSpace: error.is_no_space != 0, message: message))
}

/// Runs a call of the shim that reports by code.
@inline(__always)
func checked(
    path: String, _ call: (UnsafeMutablePointer<pk_error>) -> Int32
) throws(StorageError) {
    var error = pk_error()
    guard call(&error) != 0 else { return }
    throw takeError(&error, path: path)
}
