"""Settings of Orthanc (to 1.13) and its plugins that have no counterpart here, with the reasons."""

from __future__ import annotations

from typing import Final

_BY_REASON: Final = {
    "files are stored as they were received, and always synced": (
        "StorageCompression SyncStorageArea IngestTranscoding IngestTranscodingOfUncompressed "
        "IngestTranscodingOfCompressed BuiltinDecoderTranscoderOrder StoreMD5ForAttachments "
        "DicomLossyTranscodingQuality"
    ),
    "nothing is deleted to make room; below storage.min_free instances are refused": (
        "MaximumStorageSize MaximumPatientCount MaximumStorageMode"
    ),
    "caches, threads and buffers have limits of their own, see [storage], [http], [imaging] and [server]": (
        "MaximumStorageCacheSize StorageMemoryCapacity DicomParserMemoryCapacity TranscoderMemoryCapacity "
        "HttpThreadsCount DicomThreadsCount DicomScpThreadsCount KeepAlive KeepAliveTimeout TcpNoDelay "
        "MallocArenaMax ZipLoaderThreads SynchronousZipStream LoaderThreads JobsEngineThreadsCount "
        "MaximumRequestBodySizeMB MaximumFileSizeInArchiveMB Performance"
    ),
    "scripts and plugins do not run in the process that holds the images": (
        "LuaScripts LuaHeartBeatPeriod ExecuteLuaEnabled Plugins Python PythonScript PythonVerbose Java"
    ),
    "a page or service of Orthanc; see the pages under /ui": (
        "OrthancExplorerEnabled OrthancExplorer2 WebDavEnabled WebDavDeleteAllowed WebDavUploadAllowed ServeFolders "
        "StoneWebViewer WebViewer OHIF VolView WSI Stl STL Neuro Education Transfers Tcia MultitenantDicom "
        "Authorization Housekeeper DelayedDeletion PixelsMasker Connectivity OrthancWebViewer"
    ),
    "the log and its levels are [log]; metrics are always on": (
        "HttpVerbose DeidentifyLogs DeidentifyLogsDicomVersion MetricsEnabled Warnings"
    ),
    "error texts, ranges and compressed answers are always given as the client asks": (
        "HttpDescribeErrors HttpCompressionEnabled"
    ),
    "TLS is that of the system's OpenSSL, from version 1.2 on": (
        "SslMinimumProtocolVersion SslCiphersAccepted DicomTlsMinimumProtocolVersion DicomTlsCiphersAccepted"
    ),
    "client certificates over HTTP are for a proxy in front to check": "SslVerifyPeers SslTrustedClientCertificates",
    "no path on the disk is taken from a client": "RestApiWriteToFileSystemEnabled",
    "proxies of the environment are not used between systems": "HttpProxy",
    "queries go through the index and have no such limit": (
        "LimitFindResults LimitFindInstances StorageAccessOnFind CaseSensitivePN QueryRetrieveSize DicomEchoChecksFind"
    ),
    "texts are stored as they came, and read by the character set that they name": (
        "DefaultEncoding Locale LoadPrivateDictionary Dictionary DefaultPrivateCreator"
    ),
    "stable is what received nothing for 60 seconds": "StableAge",
    "AE titles are compared as PS3.5 says, without spaces around them": "StrictAetComparison",
    "what went where is always recorded, and shown by /exports": "LogExportedResources",
    "jobs survive a restart, always": "SaveJobs",
    "finished jobs are kept for days, not by their number: jobs.keep_days": "JobsHistorySize",
    "jobs.slots is the number of concurrent jobs, which mostly wait for others": "ConcurrentJobs",
    "the archives of jobs are kept by their size and age: jobs.max_output_bytes, jobs.keep_outputs_hours": (
        "MediaArchiveSize"
    ),
    "a client is let go that is slower than http.min_rate": "HttpRequestTimeout",
    "storage commitments are durable; commitment.keep_days says for how long": "StorageCommitmentReportsSize",
    "every storage SOP class is taken, others as dicom.accept_unknown_sop_classes says": (
        "AcceptedSopClasses RejectedSopClasses"
    ),
    "dicom.max_associations and dicom.max_associations_per_aet limit the associations": "DicomScpMaximumAssociations",
    "how we call others is negotiated for each association, or said in a request": (
        "DicomScuPreferredTransferSyntax TranscodeDicomProtocol SynchronousCMove DicomAssociationCloseDelay "
        "DicomDefaultRetrieveMethod"
    ),
    "revisions are compared whenever a client sends If-Match": "CheckRevisions",
    "the gateway has no name beside its AE title": "Name",
    "every instance is stored": "StoreDicom",
    "nothing here is read-only as a whole": "ReadOnly",
    "another index of Orthanc than SQLite or PostgreSQL is not read": "MySQL Odbc",
    "files there are not read: bring them by `migrate dicomweb` from a running Orthanc": (
        "AwsS3Storage AzureBlobStorage GoogleCloudStorage AdvancedStorage"
    ),
}
NO_COUNTERPART: Final = {name: reason for reason, names in _BY_REASON.items() for name in names.split()}
"""Reason by name of the setting."""
