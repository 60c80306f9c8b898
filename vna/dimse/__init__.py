"""The DICOM network: the only code that speaks the upper layer protocol (PS3.8) and DIMSE (PS3.7).

Nouns: association (one negotiated connection), presentation context (a SOP class with one transfer syntax), command (a DIMSE
command set), wire (the socket with its bounded buffer), message stream (commands and data sets read from P-DATA), sink (where
received objects go, given by the caller), outcome (what became of one object that was sent).

============================  ==============================================================================
``storage_scp``               receive C-STORE and C-ECHO on many associations at once
``send``                      C-STORE to a peer, one coded outcome an instance
``retrieve``                  C-MOVE to our own receiver, C-GET into a sink
``find``                      C-FIND, text decoded; a truncated answer is an error, never a short list
``echo``                      C-ECHO, with a hint for each way it can fail
``association``               an association for everything else
``statuses``                  every DIMSE status, classified
============================  ==============================================================================

Data sets pass through as bytes: they are never decoded and encoded again, in either direction. Nothing here knows the archive,
the index or the ledger, and no message or log line holds anything of a data set but UIDs.
"""
