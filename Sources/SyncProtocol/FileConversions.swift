import FoundationEssentials

extension WireFiles_Request {
    init(_ request: FileServiceRequest) {
        self.init()
        partition = 0
        switch request {
        case .list(let request):
            type = .list
            readerIndex = request.readerIndex
            databaseName = request.database
            fillExtensions(request.fileToken, request.requestID, request.wantedSnapshot)
        case .read(let request):
            type = .read
            readerIndex = request.readerIndex
            databaseName = request.database
            read.filename = request.filename
            read.count = request.count
            read.offset = request.offset
            fillExtensions(request.fileToken, request.requestID, request.snapshot)
        }
    }

    private mutating func fillExtensions(
        _ token: [UInt8]?, _ requestID: UInt64?, _ snapshot: SnapshotID?
    ) {
        if let token { WireExt_fileToken = .init(token) }
        if let requestID { WireExt_requestID = requestID }
        if let snapshot { WireExt_requestedSnapshot = snapshot.description }
    }

    func plain() throws(WireError) -> FileServiceRequest {
        let database = try checkedDatabase(databaseName)
        guard readerIndex >= 0, readerIndex <= WireLimits.maxReaderIndex else {
            throw .outOfRange(
                field: "reader_index", value: Int64(readerIndex),
                allowed: 0...Int64(WireLimits.maxReaderIndex))
        }
        let token: [UInt8]? = hasWireExt_fileToken ? Array(WireExt_fileToken) : nil
        try checkedToken(token)
        let id = hasWireExt_requestID ? WireExt_requestID : nil
        let snapshot =
            hasWireExt_requestedSnapshot ? try plainSnapshotID(WireExt_requestedSnapshot) : nil
        switch type {
        case .list:
            return .list(
                FileListRequest(
                    database: database, readerIndex: readerIndex, fileToken: token,
                    requestID: id, wantedSnapshot: snapshot))
        case .read:
            guard hasRead else { throw .missingField("read") }
            try checkRange()
            return .read(
                FileReadRequest(
                    database: database, readerIndex: readerIndex,
                    filename: try checked(
                        read.filename, "filename", limitBytes: WireLimits.maxFileNameBytes),
                    offset: read.offset, count: read.count, fileToken: token, requestID: id,
                    snapshot: snapshot))
        }
    }

    private func checkRange() throws(WireError) {
        guard read.count <= UInt64(WireLimits.maxFileChunkBytes) else {
            throw .outOfRange(
                field: "count", value: Int64(clamping: read.count),
                allowed: 0...Int64(WireLimits.maxFileChunkBytes))
        }
        guard read.offset <= UInt64(Int64.max) - read.count else {
            throw .outOfRange(
                field: "offset", value: Int64(clamping: read.offset),
                allowed: 0...(Int64.max - Int64(read.count)))
        }
    }
}

extension WireFiles_Response {
    init(_ response: FileListResponse) {
        self.init()
        type = .list
        fill(response.readerIndex, response.snapshotID, response.database, response.status)
        if let filenames = response.filenames { list.filenames = filenames }
        if let manifest = response.manifest { list.WireExt_manifest = WireExt_Manifest(manifest) }
        fillExtensions(response.requestID, response.refusal)
    }

    init(refusal response: FileReadResponse) {
        self.init()
        type = .read
        fill(response.readerIndex, response.snapshotID, response.database, response.status)
        fillExtensions(response.requestID, response.refusal)
    }

    private mutating func fill(
        _ readerIndex: Int32, _ snapshotID: String, _ database: String, _ status: StatusCode
    ) {
        self.readerIndex = readerIndex
        self.snapshotID = snapshotID
        databaseName = database
        partition = 0
        // This service has no third code.
        self.status = status == .ok ? .ok : .error
    }

    private mutating func fillExtensions(_ id: UInt64?, _ refusal: FileRefusal?) {
        if let id { WireExt_responseID = id }
        if let refusal { WireExt_refusal = WireExt_Refusal(refusal) }
    }

    func plainList() throws(WireError) -> FileListResponse {
        let id = try checked(
            snapshotID, "snapshot_id", limitBytes: WireLimits.maxSnapshotIDBytes)
        guard hasList || status != .ok else { throw .missingField("list") }
        try checkedCount(list.filenames.count, "filenames", limit: WireLimits.maxFilesPerSnapshot)
        for name in list.filenames { try checkSnapshotFileName(name) }
        let manifest = list.hasWireExt_manifest ? try list.WireExt_manifest.plain() : nil
        if let manifest, manifest.id.description != id {
            throw .invalidText(field: "manifest.snapshot_id")
        }
        return FileListResponse(
            status: status == .ok ? .ok : .error, database: try checkedDatabase(databaseName),
            readerIndex: readerIndex, snapshotID: id,
            filenames: hasList ? list.filenames : nil, manifest: manifest,
            requestID: hasWireExt_responseID ? WireExt_responseID : nil,
            refusal: hasWireExt_refusal ? try WireExt_refusal.plain() : nil)
    }
}

/// Refuses names that could lead out of the directory that a snapshot is copied into.
func checkSnapshotFileName(_ name: String) throws(WireError) {
    _ = try checked(name, "filename", limitBytes: WireLimits.maxFileNameBytes)
    guard !name.utf8.contains(0) else { throw .invalidText(field: "filename") }
    for part in name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
    where part.isEmpty || part.elementsEqual(".".utf8) || part.elementsEqual("..".utf8) {
        throw .invalidText(field: "filename")
    }
}

extension WireExt_Refusal {
    init(_ refusal: FileRefusal) {
        self.init()
        reason = Reason(rawValue: Int(refusal.reason.rawValue)) ?? .unspecified
        retryAfterMilliseconds = refusal.retryAfterMilliseconds
        percent = refusal.percent
    }

    func plain() throws(WireError) -> FileRefusal {
        let plainReason =
            hasReason ? FileRefusalReason(rawValue: UInt32(reason.rawValue)) : nil
        return try FileRefusal(
            reason: plainReason ?? .unspecified, retryAfterMilliseconds: retryAfterMilliseconds,
            checkedPercent: percent)
    }
}

extension WireExt_Manifest {
    init(_ manifest: SnapshotManifest) {
        self.init()
        snapshotID = manifest.id.description
        files = manifest.files.map { file in
            var wire = WireExt_SnapshotFile()
            wire.name = file.name
            wire.sizeBytes = file.sizeBytes
            if let digest = file.digest { wire.digest = digest }
            return wire
        }
        position = WireExt_Position(manifest.position)
        digest = manifest.digest
        history = manifest.history.map { WireExt_HistoryEntry($0) }
        highestEffectiveNowSeconds = manifest.highestEffectiveNowSeconds
    }

    func plain() throws(WireError) -> SnapshotManifest {
        try checkedCount(files.count, "manifest.files", limit: WireLimits.maxFilesPerSnapshot)
        var plainFiles: [SnapshotFile] = []
        plainFiles.reserveCapacity(files.count)
        var totalBytes: UInt64 = 0
        for file in files {
            try checkSnapshotFileName(file.name)
            let (sum, overflow) = totalBytes.addingReportingOverflow(file.sizeBytes)
            guard !overflow, sum <= UInt64(Int64.max) else {
                throw .outOfRange(
                    field: "manifest.size_bytes", value: Int64(clamping: file.sizeBytes),
                    allowed: 0...(Int64.max - Int64(totalBytes)))
            }
            totalBytes = sum
            plainFiles.append(
                SnapshotFile(
                    name: file.name, sizeBytes: file.sizeBytes,
                    digest: file.hasDigest ? file.digest : nil))
        }
        return SnapshotManifest(
            id: try plainSnapshotID(snapshotID), files: plainFiles, position: position.plain,
            digest: digest, history: try plainHistory(history),
            highestEffectiveNowSeconds: highestEffectiveNowSeconds)
    }
}
