"""De-identification by PS3.15 Annex E: from selected objects of the archive to a cohort that gives no patient away.

Nouns: profile and option (PS3.15 Annex E), action table (what becomes of each attribute), recipe (profile, options and a site's
own rules), key (the secret from which every replacement is derived), cohort (the folder of what was written), held (an object
that could not be made safe, with its reason code), release (a person's word that an image carries no text), audit (the
independent search of every output for known identifiers).
"""
