"""Networks of BasicSR and MMagic, and the work-arounds it takes to use them. Importing it registers nothing."""
